"""The theory's findings for readers: text, JSON, one page of HTML."""
