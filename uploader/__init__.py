"""uploader: a local folder of Hugging Face model files becomes READY on Fireworks AI."""

__version__ = "0.1.0"
