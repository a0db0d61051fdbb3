"""What a person looks at: previews, explanations, tables, as text and as HTML."""
