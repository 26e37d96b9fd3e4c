"""Training data: token shards that plain webdataset can read, and rows of them in an order that is a pure function."""
