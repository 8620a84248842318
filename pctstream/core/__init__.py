"""The pure core: values and events in, effects out; no Kafka, clock, log, environment or I/O."""
