// Lets the compiler accept functions without bodies: node.go links two of memberlist's.
