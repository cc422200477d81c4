"""The expert service: heavy, slow or unreliable experts behind one desk that all workers ask."""
