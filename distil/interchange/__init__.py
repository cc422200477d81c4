"""Other formats of demonstrations, one file each: read into a store, written from a snapshot."""
