"""What a person sees first: the examples played in one command, with real processes and a real kill -9."""
