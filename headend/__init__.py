"""AMI head-end: vocabulary, use cases, storage and the shell."""
