"""The third-generation machine of Popek and Goldberg (CACM 17(7), 1974)."""
