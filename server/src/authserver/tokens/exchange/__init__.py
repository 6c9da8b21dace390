"""What a token exchange is decided by, in the order of the specification: one module for each kind of target.

``verifying`` says what may be believed of the tokens that are presented, ``mint``, ``broker`` and ``unnamed`` run the gates
of their kind of target, ``issuing`` does what an exchange that passed them costs: a signature and one transaction.
"""
