"""Apache Kafka as a process of this machine: the project's own jars on the Java that is there, one node, no Docker."""
