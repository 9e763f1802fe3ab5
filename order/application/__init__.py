"""What the service does with the model: the writer commits commands in groups, the feed reads the log for streams."""
