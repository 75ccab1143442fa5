"""The operators: plain-Python cores, and the Flink functions around them."""
