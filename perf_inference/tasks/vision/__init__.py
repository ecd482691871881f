"""Images in, objects out: any classifier, detector, or finder of poses, masks or oriented boxes."""
