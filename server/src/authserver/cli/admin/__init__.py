"""``authserver admin``: one module per noun."""
