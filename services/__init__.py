"""The businesses. A service knows its rules, its tables and its people; it knows nothing of learning."""
