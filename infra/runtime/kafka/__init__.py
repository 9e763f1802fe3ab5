"""Apache Kafka behind one door: what this system asks of a broker, and a broker of its own where there is none."""
