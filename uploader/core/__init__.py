"""The pure core: decides, and never touches disk, network or clock."""
