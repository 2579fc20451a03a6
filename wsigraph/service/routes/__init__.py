"""The HTTP routes: parse a request, ask the service context, serialize the answer."""
