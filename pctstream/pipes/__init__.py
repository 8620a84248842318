"""Kafka as pctstream uses it: a reader by assignment, one gapless writer, and followed logs."""
