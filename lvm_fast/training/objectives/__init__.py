"""What training minimises: vector losses, InfoNCE, the losses of gates."""
