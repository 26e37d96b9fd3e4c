"""The build of a data version: from documents through parts of tokens to shards with their manifest."""
