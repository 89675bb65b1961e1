"""How a broadcast goes out: policy, pace, admission, delivery, dispatcher and shards."""
