"""Training data: token shards that plain webdataset can read, and the order in which training reads their rows."""
