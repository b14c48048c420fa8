"""In-memory fakes of the ports, shipped beside them; one module per fake."""
