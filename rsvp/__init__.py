"""rsvp: from a folder of videos to a trained video predictor and a report that can be trusted."""
