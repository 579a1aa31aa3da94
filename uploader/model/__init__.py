"""Hugging Face model folders: what is in them and what they become. Local files only."""
