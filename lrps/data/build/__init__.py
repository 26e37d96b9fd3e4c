"""Building a data version: documents, tokens, parts and finally token shards with their manifest."""
