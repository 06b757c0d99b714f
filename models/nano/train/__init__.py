"""nano's training: data, three trainings, export; run from models/nano, knows no engine."""
