"""HTTP routes: parse a request, call the service context, and serialize the response."""
