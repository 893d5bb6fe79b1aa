"""Whether it is the hierarchy that helps: arms, controls and remedies of one experiment."""
