"""A Gateway, an Agent Runtime and an LLM Proxy, as small as they can be: only how they tell who is asking is real."""
