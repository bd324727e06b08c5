"""Images: decoded, cached, augmented and fed. Importing this loads neither numpy nor torch."""
