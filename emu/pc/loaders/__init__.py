"""What is in a PC's memory and registers when a guest begins: firmware, or a boot loader's work."""
