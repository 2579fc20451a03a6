"""Where there is tissue, what spoils it and how it is stained."""
