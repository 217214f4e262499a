"""What runs a bundle's network: one small class a runtime, all of them encoders (see ``model.encoder``)."""
