"""The commands, one file each: spark-submit and python run them as they are, `recmodel` by their names."""
