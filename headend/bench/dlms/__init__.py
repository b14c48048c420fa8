"""``headend bench dlms``: decoding, sessions and memory of the DLMS stack."""
