"""VMX: virtual-machine extensions of the x86 (SDM volume 3, chapters 24 to 28), one noun a file."""
