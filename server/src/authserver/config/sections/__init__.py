"""The sections of the configuration, one class each: field name is key name, the annotation declares the key.

To add a key, add its field; loading, checks, ``config show``, the schema, the reference page and the sample file
follow. To switch on a feature that has been built, take ``built=False`` (or its name in ``unbuilt``) away.
"""
