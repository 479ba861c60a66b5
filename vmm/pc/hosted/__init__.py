"""Monitors in a process of a host operating system."""
