"""Channel statistics of ImageNet (torchvision), RGB, for pixels in 0-1: what the pretrained bodies expect."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
