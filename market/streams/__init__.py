"""The exchanges' WebSocket streams, served beside their REST APIs."""
