"""What one chapter or one subject needs, a room each."""
