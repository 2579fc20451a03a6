"""What a person looks at: pictures, outlines and tables of one slide."""
