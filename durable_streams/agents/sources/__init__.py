"""Where events come from: models and agent frameworks, each releasing its upstream when cancelled."""
