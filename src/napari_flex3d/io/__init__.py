"""Files to arrays and tables and back; every foreign convention ends here."""
