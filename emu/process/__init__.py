"""The process machine: Linux i386 user programs in a sandbox."""
