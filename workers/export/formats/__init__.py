"""Forms of an exported model beside safetensors: how each is written, and run."""
