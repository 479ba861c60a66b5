"""Moving a running virtual machine from one monitor process to another."""
