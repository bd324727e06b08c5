"""Language models: loading, time to first token, decoding, perplexity and a conversation, one module an experiment."""
