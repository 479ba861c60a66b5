"""What monitors cost: published cycle costs as data, times events that were counted here."""
